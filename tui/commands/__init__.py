"""The commands of ``mlxqwen``: each reads its arguments, calls one function, and prints."""
