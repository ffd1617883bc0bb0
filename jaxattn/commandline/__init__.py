"""What a command line says: its parts, its request, its help."""
