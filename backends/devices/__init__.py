"""Where an artifact runs: boards, simulators, this machine. Outputs are compared before anything is counted."""
