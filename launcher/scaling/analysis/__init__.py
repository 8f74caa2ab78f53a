"""From the measurements of a study to what follows from them; reads and writes nothing."""
