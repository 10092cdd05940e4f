# A dashboard for a class: docker build -t reflow-lab . && docker run -p 8501:8501 reflow-lab
FROM python:3.11-slim
WORKDIR /lab
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps . && useradd --create-home lab
USER lab
WORKDIR /home/lab
EXPOSE 8501
CMD ["reflow-lab", "serve", "--address", "0.0.0.0"]
