"""The command line: it parses, calls the API and shows. Heavy modules are imported inside the commands, so that `--help` answers at once."""
