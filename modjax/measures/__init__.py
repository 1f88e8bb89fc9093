"""The four measures of similarity between units."""
