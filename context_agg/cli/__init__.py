"""What the commands share: composing a configuration, refusing a mistake, quiet libraries."""
