"""One solution a file. The file's docstring is the task, and its functions without their bodies are the skeleton."""
