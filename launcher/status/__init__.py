"""What runs do and did, for people and scripts; nothing in this package writes."""
