"""Makes full-integer TFLite files: calibrates, quantizes, and measures what 8 bits cost."""
