"""The sections of the report, made from what the stages left in the run folder."""
