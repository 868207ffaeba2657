"""One module a stage of a run: it reads the files of the stages before it and writes its own."""
