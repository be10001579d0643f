"""Layer types of DeepLab's forks, which PSPNet and ICNet use too."""
