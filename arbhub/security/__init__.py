"""Who may call whom, who may change what, and what is never shown: the same for every service."""
