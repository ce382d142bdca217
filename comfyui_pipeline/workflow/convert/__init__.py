"""From the editor's document to the prompt that the editor would send."""
