"""What `make gpu` runs: stages in processes of their own, one results file, written after every step."""
