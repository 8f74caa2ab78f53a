"""What runs do and did, for people and scripts; nothing here writes."""
