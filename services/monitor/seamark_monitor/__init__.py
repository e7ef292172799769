"""The sidecar of one predictor: takes in its predictions, counts them for Prometheus and spools them to the collector.

Here belongs what watches one predictor. Storing predictions is the collector's work, judging the counts the analyzer's.
"""
