"""The commands of the program, a file each: what `jaxattn.commands` lists."""
