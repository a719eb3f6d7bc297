"""The small trained model that ships in the wheel, and the script that trains it."""
