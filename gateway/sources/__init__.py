"""Sources: device sessions that fill the inbox. Siblings never import each other."""
