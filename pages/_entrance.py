"""What runs for every visitor, whichever page the link names: the frame, then that page.

It lies in pages/, not beside it: beside such a folder Streamlit would list the folder's files as pages, and run one
that a link names without this.
"""

from pages.ui import shell

if __name__ == "__main__":  # a process that this one spawns, such as a cluster's worker, runs it by another name
    shell.enter()
