"""What a record and a shard are, byte by byte."""
