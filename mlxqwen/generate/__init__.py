"""Token ids to token ids: sampling and the decode loop; knows no text."""
