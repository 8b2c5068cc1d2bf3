"""What the doors do: learn a policy, compare policies, and show the progress of both on the terminal."""
