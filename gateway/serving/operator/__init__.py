"""What an operator on this machine may do: a socket in the file system, where the kernel says who asks."""
