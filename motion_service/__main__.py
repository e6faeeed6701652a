"""``python -m motion_service``: serve with the settings of the environment."""

from motion_service.main import main

if __name__ == "__main__":
    main()
