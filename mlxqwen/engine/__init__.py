"""Events, memory plans, the engine on its owner thread, and the engine as a child process."""
