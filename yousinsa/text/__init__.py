"""Text from people: what is let in and how it is stored, what tells two texts apart, what is searched."""
