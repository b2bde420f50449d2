"""The verbs for scripts, the Run that a user holds, and the one table of words that magics share."""
