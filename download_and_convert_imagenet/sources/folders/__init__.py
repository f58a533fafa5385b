"""Folders of images: what is in them, and which folders are splits and which are classes."""
