"""The life of a run: supervisor, workers, executors. Owns every process and thread of a run."""
