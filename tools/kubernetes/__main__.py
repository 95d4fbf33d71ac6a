"""python -m tools.kubernetes: the system on whatever cluster kubectl speaks to.

cli      arguments, and the order of things
cluster  kubectl, as far as it is needed
secrets  the Secrets that the manifests in k8s/ name
"""

from tools.kubernetes.cli import main

main()
