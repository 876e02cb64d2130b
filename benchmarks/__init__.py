"""Speed and fidelity of the harness itself: `make bench`. Not part of the package, and not of the tests."""
