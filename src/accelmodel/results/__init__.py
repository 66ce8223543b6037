"""Results: Arrow tables whose fields carry unit and description, and where they are kept."""
