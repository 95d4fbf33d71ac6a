from tools.compose.cli import main

main()
