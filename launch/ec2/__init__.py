"""Training on Amazon EC2: what to start, the script that an instance runs, the calls to AWS."""
