"""The command line: translate, call one function, translate back."""
