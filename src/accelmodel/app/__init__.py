"""The explorer: a scenario in the browser, whose controls answer at once."""
