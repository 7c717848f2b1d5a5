"""What the commands share: composing configurations, reporting mistakes, quiet libraries."""
