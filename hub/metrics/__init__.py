"""What a hub tells Prometheus: collector ▸ a module a topic ▸ families."""
