"""What exists: links, end devices, usage points, who hangs where since when, and what each channel should deliver."""
