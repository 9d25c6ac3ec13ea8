"""The judge: trains and scores quantizers under equal conditions and writes leaderboards."""
