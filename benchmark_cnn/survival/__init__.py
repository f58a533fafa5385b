"""What a run does about values that are not finite and about steps that hang."""
