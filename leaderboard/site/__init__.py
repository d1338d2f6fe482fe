"""The leaderboard as a folder of pages that need neither network nor server: `build.py` is where to begin reading."""
