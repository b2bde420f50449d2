"""Model automation inside the notebook: ``%load_ext nbautoml``, then ``%automl help``."""

__version__ = "0.1.0.dev0"
