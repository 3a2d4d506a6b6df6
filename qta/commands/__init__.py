"""The longer commands of `qta`, a module each."""
