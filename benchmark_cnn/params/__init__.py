"""The parameters of a run, declared once, and the rules that they obey. No TensorFlow here."""
