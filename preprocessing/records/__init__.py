"""TFRecords: which files, in which order, how many records, what is in one."""
