"""Query expansion: one method per file, and the stage that has a model write what they need."""
