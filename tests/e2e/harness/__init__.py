"""What the scenarios stand on: a cluster seen from outside, users who send requests, model packages good and bad."""
