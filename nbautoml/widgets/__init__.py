"""What a person sees of a run: snapshots, static renderings, the live link to browsers, the composable panel.

Everything here is drawn from the record alone. Nothing here imports torch or the engine, and heavy
parts (anywidget, matplotlib, pandas) are imported by the one module that needs them.
"""
