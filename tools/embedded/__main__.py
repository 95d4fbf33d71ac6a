from tools.embedded.cli import main

main()
