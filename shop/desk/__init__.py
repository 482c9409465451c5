"""The desk's own site: who gets in, what the sidebar shows. Its pages are in each app's admin."""
